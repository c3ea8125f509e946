package session

import (
	"errors"
	"fmt"

	"github.com/parquet-go/parquet-go"
)

// pageFilter chooses pages by the bounds of a column of integers; nil: all.
type pageFilter struct {
	column string
	wants  func(low, high int64) bool
}

// rowRange is a stretch of a part's rows, its end not included.
type rowRange struct{ from, to int64 }

// ranges are the rows in the pages that are wanted.
func (f *pageFilter) ranges(file *parquet.File) ([]rowRange, error) {
	if f == nil {
		return []rowRange{{0, file.NumRows()}}, nil
	}
	leaf, ok := file.Schema().Lookup(f.column)
	if !ok {
		return nil, fmt.Errorf("there is no column %s", f.column)
	}
	var wanted []rowRange
	base := int64(0)
	for _, group := range file.RowGroups() {
		pages, err := f.pages(group, leaf.ColumnIndex)
		if err != nil {
			return nil, err
		}
		for _, r := range pages {
			r.from, r.to = base+r.from, base+r.to
			if n := len(wanted); n > 0 && wanted[n-1].to == r.from {
				wanted[n-1].to = r.to
			} else {
				wanted = append(wanted, r)
			}
		}
		base += group.NumRows()
	}
	return wanted, nil
}

// pages are the rows of a group's pages that are wanted: all of one without an index.
func (f *pageFilter) pages(group parquet.RowGroup, column int) ([]rowRange, error) {
	chunk := group.ColumnChunks()[column]
	bounds, err := chunk.ColumnIndex()
	if errors.Is(err, parquet.ErrMissingColumnIndex) {
		return []rowRange{{0, group.NumRows()}}, nil
	}
	if err != nil {
		return nil, err
	}
	places, err := chunk.OffsetIndex()
	if err != nil {
		return nil, err
	}
	var wanted []rowRange
	for i := range bounds.NumPages() {
		if bounds.NullPage(i) || !f.wants(bounds.MinValue(i).Int64(), bounds.MaxValue(i).Int64()) {
			continue
		}
		r := rowRange{places.FirstRowIndex(i), group.NumRows()}
		if i+1 < bounds.NumPages() {
			r.to = places.FirstRowIndex(i + 1)
		}
		wanted = append(wanted, r)
	}
	return wanted, nil
}
