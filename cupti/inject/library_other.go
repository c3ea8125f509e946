//go:build !amd64

package inject

var library []byte
