package session

import (
	"bytes"
	"encoding/json"
	"io"
	"strconv"
)

// writeJSON writes v as the session's JSON files are: indented by 2.
func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// object is a JSON object whose keys keep their order.
type object []member

type member struct {
	key   string
	value any
}

func (o object) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, m := range o {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.Quote(m.key))
		b.WriteByte(':')
		v, err := json.Marshal(m.value)
		if err != nil {
			return nil, err
		}
		b.Write(v)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// Numbers with the decimals of the CSV files.
type (
	percent float64 // 2
	rounded float64 // 2
	millis  float64 // 3, given in ns
	seconds float64 // 6, given in ns
)

func (v percent) MarshalJSON() ([]byte, error) {
	return strconv.AppendFloat(nil, float64(v), 'f', 2, 64), nil
}

func (v rounded) MarshalJSON() ([]byte, error) { return percent(v).MarshalJSON() }

func (v millis) MarshalJSON() ([]byte, error) {
	return strconv.AppendFloat(nil, float64(v)/1e6, 'f', 3, 64), nil
}

func (v seconds) MarshalJSON() ([]byte, error) {
	return strconv.AppendFloat(nil, float64(v)/1e9, 'f', 6, 64), nil
}

// counts are numbers by name.
type counts map[string]int64

func (c *counts) add(name string) {
	if *c == nil {
		*c = counts{}
	}
	(*c)[name]++
}

func (c counts) json() object {
	out := object{}
	for _, name := range sortedKeys(c) {
		out = append(out, member{name, c[name]})
	}
	return out
}
