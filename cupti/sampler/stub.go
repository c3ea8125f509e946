//go:build !cgo

package sampler

import (
	"context"
	"io"
)

// built says that there is no helper in this program.
const built = false

// Main says that it cannot work: the library is loaded through cgo.
func Main(_ context.Context, _ io.Reader, out io.Writer) error {
	err := &Error{NotBuilt, "built without cgo"}
	w := writer{to: out}
	if werr := w.json(frameError, err); werr != nil {
		return werr
	}
	return err
}
