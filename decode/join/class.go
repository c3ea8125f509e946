package join

import "github.com/pmtrace/pmtrace/decode/kernel"

// maxClassed bounds the names whose classes are kept; names beyond are looked at anew.
const maxClassed = 1 << 16

var copyClass = string(kernel.Copy)

// classOf is a kernel's class by its name.
func (j *Joiner) classOf(name string) *string {
	if class, ok := j.classes[name]; ok {
		return class
	}
	class := string(kernel.Classify(name).Class)
	if j.classes == nil {
		j.classes = map[string]*string{}
	}
	if len(j.classes) < maxClassed {
		j.classes[name] = &class
	}
	return &class
}
