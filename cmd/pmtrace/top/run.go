package top

import (
	"context"
	"errors"
	"io"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/pmtrace/pmtrace/output/live"
)

// Screen shows frames on a terminal until the user quits or ctx ends.
func Screen(ctx context.Context, in io.Reader, out io.Writer, environment []string, source Source, interval time.Duration) error {
	p := tea.NewProgram(NewModel(source, interval), tea.WithContext(ctx), tea.WithInput(in), tea.WithOutput(out),
		tea.WithEnvironment(environment), tea.WithoutSignalHandler())
	_, err := p.Run()
	if errors.Is(err, tea.ErrProgramKilled) && ctx.Err() != nil {
		return nil
	}
	return err
}

// listedInLines is how many requests of each list a block of lines has at most.
const listedInLines = 5

// Lines writes a block, or a line of JSON, each interval, until the session has ended or
// ctx ends.
func Lines(ctx context.Context, out io.Writer, source Source, interval time.Duration, asJSON bool) error {
	ticks := time.NewTicker(interval)
	defer ticks.Stop()
	for {
		ended := false
		select {
		case <-ctx.Done():
			ended = true
		case <-ticks.C:
		}
		f := source(listedInLines, live.ByTotal)
		if err := write(out, &f, asJSON); err != nil {
			return err
		}
		if ended || f.State == Ended {
			return nil
		}
	}
}

func write(out io.Writer, f *Frame, asJSON bool) error {
	line := []byte(Block(f, 0))
	if asJSON {
		var err error
		if line, err = f.JSON(); err != nil {
			return err
		}
	}
	_, err := out.Write(line)
	return err
}
