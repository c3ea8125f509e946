package top

import (
	"fmt"
	"slices"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"

	"github.com/pmtrace/pmtrace/output/live"
)

// listed is how many requests are asked for: more than a screen has room for.
const listed = 40

// aboveLists is how many lines a screen has besides two lists of requests, with one GPU.
const aboveLists = 30

// model is the screen's state.
type model struct {
	source   Source
	interval time.Duration

	frame         Frame
	by            live.Order
	paused, help  bool
	width, height int
	style         style
}

// NewModel returns the screen, which asks source for a frame each interval.
func NewModel(source Source, interval time.Duration) tea.Model {
	m := model{source: source, interval: interval, by: live.ByTotal, style: colored()}
	m.frame = source(listed, m.by)
	return m
}

// tick is when the next frame is due.
type tick struct{}

func (m model) next() tea.Cmd { return tea.Tick(m.interval, func(time.Time) tea.Msg { return tick{} }) }

func (m model) Init() tea.Cmd { return m.next() }

func (m model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tick:
		if !m.paused {
			m.frame = m.source(listed, m.by)
		}
		return m, m.next()
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
	case tea.KeyPressMsg:
		return m.key(msg.String())
	}
	return m, nil
}

func (m model) key(key string) (tea.Model, tea.Cmd) {
	switch key {
	case "q", "esc", "ctrl+c":
		return m, tea.Quit
	case "p", "space":
		m.paused = !m.paused
	case "s":
		orders := live.Orders()
		m.by = orders[(slices.Index(orders, m.by)+1)%len(orders)]
		if !m.paused {
			m.frame = m.source(listed, m.by)
		}
	case "?", "h":
		m.help = !m.help
	}
	return m, nil
}

func (m model) View() tea.View {
	v := tea.NewView(m.screen())
	v.AltScreen = true
	v.WindowTitle = "pmtrace top"
	return v
}

func (m model) screen() string {
	if m.width == 0 {
		return ""
	}
	content := text(&m.frame, m.style, max((m.height-aboveLists)/2, 2))
	if m.help {
		content = helpText
	}
	lines := strings.Split(strings.TrimRight(cut(content, m.width), "\n"), "\n")
	room := max(m.height-1, 0)
	lines = lines[:min(len(lines), room)]
	for len(lines) < room {
		lines = append(lines, "")
	}
	return strings.Join(append(lines, strings.TrimSuffix(cut(m.bar(), m.width), "\n")), "\n")
}

func (m model) bar() string {
	bar := fmt.Sprintf("q quit  p pause  s sort (%s)  ? help", m.by)
	if m.paused {
		return lipgloss.NewStyle().Reverse(true).Render("paused") + "  " + m.style.faint.Render(bar)
	}
	return m.style.faint.Render(bar)
}

const helpText = `Keys
  q        quit; a server that is watched is let go, a recording goes on
  p        pause, and go on
  s        sort the slowest requests by whole, ttft, tpot or queue time
  ?        this

Figures are of the window that the second line names: of the steps whose update returned
in it, and of the requests that finished in it.
  /s, requests, tokens   steps a second, and the mean batch of a step
  p50, p99               time of a step from schedule to the end of its update
  GPU p50, p99           its time on the GPU, by the source that the line GPU names:
                         event_bound is a bound from outside, cupti NVIDIA's own
  idle with requests     the GPU waited for the host although the batch was not empty
  Longest, Slowest       requests by id; prompts and texts are never read
`
