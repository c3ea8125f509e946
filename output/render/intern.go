package render

import (
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
)

// dictionary numbers the words of one kind, from 1: a word is written once, in
// front of the first event that has it.
type dictionary struct {
	field protowire.Number // of InternedData
	words map[string]uint64
	fresh message // those that no packet has yet
}

func newDictionary(field protowire.Number) *dictionary {
	return &dictionary{field: field, words: map[string]uint64{}}
}

func (d *dictionary) number(word string) uint64 {
	if n, ok := d.words[word]; ok {
		return n
	}
	n := uint64(len(d.words) + 1)
	d.words[strings.Clone(word)] = n
	entry := message(nil).uint(internedID, n).text(internedText, strings.ToValidUTF8(word, "?"))
	d.fresh = d.fresh.message(d.field, entry)
	return n
}
