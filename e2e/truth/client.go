package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
)

// client is a line of load.py: what a client asked and got. Times are seconds
// of CLOCK_MONOTONIC.
type client struct {
	ClientID   string   `json:"client_id"`
	ExternalID string   `json:"external_id"` // "": the server had not answered yet
	Kind       string   `json:"kind"`        // length, eos, abort, pooling
	Prompt     int32    `json:"prompt_tokens"`
	MaxTokens  int32    `json:"max_tokens"`
	Completion int32    `json:"completion_tokens"`
	Cached     *int32   `json:"cached_tokens"`
	Reason     string   `json:"finish_reason"`
	Sent       float64  `json:"t_send"`
	First      *float64 `json:"t_first"` // streams only
	Last       *float64 `json:"t_last"`
	Error      string   `json:"error"`
}

func readClients(r io.Reader) ([]client, error) {
	var list []client
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var c client
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			return nil, fmt.Errorf("line %d: %w", len(list)+1, err)
		}
		list = append(list, c)
	}
	return list, lines.Err()
}

// id is the client's id of the request as the server made it of X-Request-Id.
func (c *client) id() string {
	if c.ExternalID != "" {
		return c.ExternalID
	}
	return "cmpl-" + c.ClientID + "-0"
}

// gone says that the client hung up, so that the server's last word on the
// request is missing.
func (c *client) gone() bool { return c.Reason != "stop" && c.Reason != "length" }
