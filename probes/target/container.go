package target

import "strings"

// container finds the id of the container a process runs in: the last path
// element of a cgroup that is or ends in 64 hex digits (docker-<id>.scope,
// cri-containerd-<id>.scope, /docker/<id>, /kubepods/…/<id>). "" outside one,
// and where a private cgroup namespace hides it.
func (p Proc) container(pid int) string {
	b, err := p.read(pid, "cgroup", maxCgroup)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(b)) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(f) < 3 {
			continue
		}
		for part := range strings.SplitSeq(f[2], "/") {
			part = strings.TrimSuffix(part, ".scope")
			if id := part[strings.LastIndexByte(part, '-')+1:]; isContainerID(id) {
				return id
			}
		}
	}
	return ""
}

func isContainerID(s string) bool {
	return len(s) == 64 && strings.Trim(s, "0123456789abcdef") == ""
}
