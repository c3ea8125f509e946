package main

import (
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// manCommand writes the manual's pages for a package of pmtrace.
func (a *app) manCommand() *cobra.Command {
	return &cobra.Command{
		Use: "man DIRECTORY", Hidden: true, Args: cobra.ExactArgs(1),
		Short: "Write the manual's pages",
		RunE:  func(c *cobra.Command, args []string) error { return a.man(c.Root(), args[0]) },
	}
}

func (a *app) man(root *cobra.Command, into string) error {
	root.DisableAutoGenTag = true
	root.InitDefaultCompletionCmd()
	if c, _, err := root.Find([]string{"completion"}); err == nil {
		c.Hidden = true // its help is long, and of no use in a manual
	}
	date, err := a.buildDate()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(into, 0o755); err != nil {
		return failed("cannot write the manual", rootCause(err), "")
	}
	header := &doc.GenManHeader{Section: "1", Date: &date, Source: "pmtrace " + version().Version, Manual: "pmtrace"}
	if err := doc.GenManTree(root, header, into); err != nil {
		return failed("cannot write the manual", rootCause(err), "")
	}
	return nil
}

// buildDate is SOURCE_DATE_EPOCH, as builds that are to be repeated have it, or now.
func (a *app) buildDate() (time.Time, error) {
	epoch := a.env.get("SOURCE_DATE_EPOCH")
	if epoch == "" {
		return a.world.now(), nil
	}
	s, err := strconv.ParseInt(epoch, 10, 64)
	if err != nil {
		return time.Time{}, usage("SOURCE_DATE_EPOCH=%q is no time in seconds", epoch)
	}
	return time.Unix(s, 0).UTC(), nil
}
