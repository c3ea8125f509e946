package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/pmtrace/pmtrace/cupti/inject"
)

// windows is a flag: 1s/60s, off or always.
type windows inject.Kernels

const shortestWindow = 10 * time.Millisecond

func always() windows { return windows{time.Second, time.Second} }

func (k *windows) Set(v string) error {
	switch v {
	case "off":
		*k = windows{}
		return nil
	case "always":
		*k = always()
		return nil
	}
	window, period, ok := strings.Cut(v, "/")
	var w, p seconds
	if !ok || w.Set(window) != nil || p.Set(period) != nil {
		return errors.New("want a time of each period, such as 1s/60s, or off or always")
	}
	if time.Duration(w) < shortestWindow || 2*w > p {
		return fmt.Errorf("want at least %v, and at most half of the period", shortestWindow)
	}
	*k = windows{time.Duration(w), time.Duration(p)}
	return nil
}

func (k *windows) always() bool { return k.Window > 0 && k.Window >= k.Period }

func (k *windows) Type() string { return "windows" }

func (k *windows) String() string {
	switch {
	case k.Window <= 0:
		return "off"
	case k.always():
		return "always"
	}
	return k.Window.String() + "/" + k.Period.String()
}
