// Package kept keeps figures in the repository: as JSON, and as a page to read beside it.
package kept

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Read reads a directory's NAME.json. Where there is none, into stays as it is.
func Read(dir, name string, into any) error {
	data, err := os.ReadFile(filepath.Join(dir, name+".json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("%s.json: %w", name, err)
	}
	return nil
}

// Write writes a directory's NAME.json, and the page as its NAME.md, in capitals.
func Write(dir, name string, figures any, page string) error {
	data, err := json.MarshalIndent(figures, "", " ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, name+".json"), append(data, '\n'), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, strings.ToUpper(name)+".md"), []byte(page), 0o644)
}
