package render

// args are the arguments of an event, as the UI lists them: what is not known has
// none.
type args struct {
	trace *trace
	bytes message
}

// args begins the arguments of the next event; one set at a time.
func (t *trace) args() *args {
	t.next.bytes = t.next.bytes[:0]
	return &t.next
}

func (a *args) put(name string, value func(message) message) *args {
	entry := a.trace.entry[:0].uint(argName, a.trace.argNames.number(name))
	a.trace.entry = value(entry)
	a.bytes = a.bytes.message(eventArg, a.trace.entry)
	return a
}

func (a *args) int(name string, v int64) *args {
	return a.put(name, func(m message) message { return m.uint(argInt, uint64(v)) })
}

func (a *args) text(name, v string) *args {
	if v == "" {
		return a
	}
	n := a.trace.texts.number(v)
	return a.put(name, func(m message) message { return m.uint(argText, n) })
}

func (a *args) optInt32(name string, v *int32) *args {
	if v == nil {
		return a
	}
	return a.int(name, int64(*v))
}

func (a *args) optInt(name string, v *int64) *args {
	if v == nil {
		return a
	}
	return a.int(name, *v)
}

func (a *args) optFloat(name string, v *float64) *args {
	if v == nil {
		return a
	}
	return a.put(name, func(m message) message { return m.double(argDouble, *v) })
}

func (a *args) optText(name string, v *string) *args {
	if v == nil {
		return a
	}
	return a.text(name, *v)
}

func (a *args) optBool(name string, v *bool) *args {
	if v == nil {
		return a
	}
	bit := uint64(0)
	if *v {
		bit = 1
	}
	return a.put(name, func(m message) message { return m.uint(argBool, bit) })
}
