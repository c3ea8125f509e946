// Package store keeps files under names, in a directory or in a bucket of a store that
// speaks S3. A file is there whole or not at all, whatever ends the writer.
package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"strings"
)

// Object is what is known of a file: enough to tell whether two are the same.
type Object struct {
	Bytes  int64
	SHA256 string // hexadecimal
}

// Store keeps files. Names are relative paths, with slashes.
type Store interface {
	// Put writes a file, over an older one of the name.
	Put(ctx context.Context, name string, content io.ReaderAt, o Object) error
	// Stat says what is there; without such a file: fs.ErrNotExist.
	Stat(ctx context.Context, name string) (Object, error)
	// Get opens a file; without such a file: fs.ErrNotExist.
	Get(ctx context.Context, name string) (io.ReadCloser, error)
	// Remove removes a file, if it is there.
	Remove(ctx context.Context, name string) error
	// String is how the store was named, without secrets.
	String() string
}

// DestinationError says that no store is named so.
type DestinationError struct{ Destination, Problem string }

func (e *DestinationError) Error() string {
	return fmt.Sprintf("%q is no destination: %s; name a directory, dir:///PATH or s3://BUCKET/PREFIX", e.Destination, e.Problem)
}

// Open finds the store that a destination names, without a word to it: trouble shows with
// the first file. A path is a directory, too.
func Open(destination string, getenv func(string) string) (Store, error) {
	scheme, rest, ok := strings.Cut(destination, "://")
	switch {
	case destination == "":
		return nil, &DestinationError{destination, "it is empty"}
	case !ok:
		return newDirectory(destination)
	case scheme == "dir" || scheme == "file":
		if !strings.HasPrefix(rest, "/") {
			return nil, &DestinationError{destination, "the path must begin with / (three slashes in all)"}
		}
		return newDirectory(rest)
	case scheme == "s3":
		return newBucket(destination, getenv)
	}
	return nil, &DestinationError{hideSecrets(destination), "there is no scheme " + scheme}
}

// hideSecrets leaves out what may be a password.
func hideSecrets(destination string) string {
	scheme, rest, ok := strings.Cut(destination, "://")
	if at := strings.LastIndex(rest, "@"); ok && at >= 0 {
		return scheme + "://…" + rest[at:]
	}
	return destination
}

// Of reads what a file holds to the end.
func Of(content io.Reader) (Object, error) {
	h := sha256.New()
	n, err := io.Copy(h, content)
	return Object{Bytes: n, SHA256: hex.EncodeToString(h.Sum(nil))}, err
}
