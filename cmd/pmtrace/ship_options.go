package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/pflag"

	"github.com/pmtrace/pmtrace/output/fleet"
	"github.com/pmtrace/pmtrace/output/fleet/store"
)

// rotateEvery is how old rows may be before they can be shipped.
const rotateEvery = 10 * time.Minute

// shipOptions say where sessions go when they are traced.
type shipOptions struct {
	to     string
	host   string
	raw    bool
	remove bool

	store store.Store // when resolved; nil: nowhere
}

func (o *shipOptions) flags(f *pflag.FlagSet) {
	f.StringVar(&o.to, "ship-to", "", "also bring the tables to this `destination`, while tracing: a directory, or s3://BUCKET/PREFIX")
	f.StringVar(&o.host, "ship-host", "", "`name` of this host there (default: its own)")
	f.BoolVar(&o.raw, "ship-journal", false, "ship the journal, too")
	f.BoolVar(&o.remove, "ship-and-remove", false, "ship the journal, too, read all of it back, and remove the session here")
}

func (o *shipOptions) resolve(env environment) error {
	if o.to == "" {
		if o.remove || o.raw {
			return usage("--ship-journal and --ship-and-remove need --ship-to")
		}
		return nil
	}
	s, err := openStore("--ship-to: ", o.to, env)
	if err != nil {
		return err
	}
	if o.host == "" {
		if o.host, err = os.Hostname(); err != nil {
			return failed("cannot tell this host's name", err, "name it with --ship-host")
		}
	}
	o.store = s
	return nil
}

// fleet are the options that a shipment has.
func (o *shipOptions) fleet() fleet.Options {
	return fleet.Options{Host: o.host, Raw: o.raw || o.remove}
}

func openStore(flag, destination string, env environment) (store.Store, error) {
	s, err := store.Open(destination, env.get)
	var wrong *store.DestinationError
	if errors.As(err, &wrong) {
		return nil, usage("%s%s", flag, wrong.Error())
	}
	if err != nil {
		return nil, failed("cannot ship", err, "")
	}
	return s, nil
}

// tallied says what a shipment did.
func tallied(t *fleet.Tally) string {
	s := fmt.Sprintf("%d files, %s", t.Files, bytesText(t.Bytes))
	if t.There > 0 {
		s += fmt.Sprintf(", %d there already", t.There)
	}
	if t.Stale > 0 {
		s += fmt.Sprintf(", %d of an earlier shipment removed", t.Stale)
	}
	return s
}

func bytesText(n int64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	case n >= 1<<10:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%d bytes", n)
}
