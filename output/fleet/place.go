package fleet

import (
	"fmt"
	"path"
	"strings"
	"time"
)

// Place is a session's among those of a fleet.
type Place struct{ Host, Date, Session string }

// placeOf finds it by the host's name and the session's id and start (RFC 3339).
func placeOf(host, session, start string) (Place, error) {
	t, err := time.Parse(time.RFC3339Nano, start)
	if err != nil || t.Unix() <= 0 {
		return Place{}, fmt.Errorf("session %s does not say when it began", session)
	}
	p := Place{plain(host), t.UTC().Format(time.DateOnly), plain(session)}
	if p.Host == "" || p.Session == "" {
		return Place{}, fmt.Errorf("session %q of host %q has no name", session, host)
	}
	return p, nil
}

// plain keeps what is a path's part and a partition's value everywhere.
func plain(name string) string {
	name = strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', r == '.', r == '-', r == '_':
			return r
		}
		return '_'
	}, name)
	if strings.Trim(name, "._") == "" {
		return ""
	}
	return name
}

func (p Place) partitions() string {
	return path.Join("host="+p.Host, "date="+p.Date, "session="+p.Session)
}

// part is where a part of a table lies.
func (p Place) part(table, part string) string { return path.Join(table, p.partitions(), part) }

// raw is where a file lies that is no table's.
func (p Place) raw(name string) string { return path.Join("_raw", p.partitions(), name) }

func (p Place) manifest() string { return path.Join("_manifests", p.partitions()+".json") }
