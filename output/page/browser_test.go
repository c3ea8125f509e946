package page

import (
	"maps"
	"math"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/go-quicktest/qt"
)

// seen is what testdata/browser.py saw at once.
type seen struct {
	Charts          map[string]int
	Strip, Heat     int
	Drawn           map[string]int
	Overflow        float64
	Title           string
	Images, Scripts int
	Background      string
	Heading         string
	Absent          []string
}

// visit is what it saw and did on one device.
type visit struct {
	Whole, Moment seen
	Kept          [][3]any            // what, got, want
	Ranges        map[string][][4]any // chart, from, to, ticks on the axis of time
	Tip           string
	TTFT          []string
	WantTTFT      []string `json:"want_ttft"`
	Engine        int
	Toggled       bool
	OpenedS       float64 `json:"opened_s"`
	Said, Asked   []string
}

func visits(t *testing.T, url string, devices ...string) map[string]visit {
	browser := setup(t, "browser.sh")
	args := []string{"testdata/browser.py", browser[1], url, strings.Join(devices, ",")}
	if dir := os.Getenv("PMTRACE_SCREENSHOTS"); dir != "" { // to be looked at
		args = append(args, dir)
	}
	var result map[string]visit
	ran(t, browser[0], ".", &result, args...)
	qt.Assert(t, qt.DeepEquals(slices.Sorted(maps.Keys(result)), devices))
	return result
}

// TestBrowser opens a page with all that there may be in a real browser.
func TestBrowser(t *testing.T) {
	dir, facts := makeServer(t, 14_000)
	devices := visits(t, "file://"+written(t, build(t, dir, facts)), "desktop dark", "desktop light", "phone dark", "phone light")
	fastest := math.Inf(1) // whatever else this machine does
	for _, v := range devices {
		fastest = min(fastest, v.OpenedS)
	}
	qt.Check(t, qt.IsTrue(fastest < 2), qt.Commentf("%.2f s", fastest))
	for device, v := range devices {
		t.Run(device, func(t *testing.T) {
			qt.Check(t, qt.HasLen(v.Said, 0))
			qt.Check(t, qt.HasLen(v.Asked, 1)) // the file itself
			v.drawn(t)
			v.zoomed(t)
			qt.Check(t, qt.Equals(v.Engine, 1))
			qt.Check(t, qt.IsTrue(v.Toggled))
			qt.Check(t, qt.DeepEquals(v.TTFT, v.WantTTFT))
			dark := strings.HasSuffix(device, "dark")
			qt.Check(t, qt.Equals(v.Whole.Background, map[bool]string{false: "rgb(251, 251, 250)", true: "rgb(19, 21, 24)"}[dark]))
		})
	}
}

// drawn: no chart is blank, nothing stands out beyond the page, and what the session says
// of itself is text and nothing more.
func (v *visit) drawn(t *testing.T) {
	charts := []string{"activity", "clock", "eager", "evicted", "gpu", "kv", "lanes", "output", "power", "preempted", "prompt", "queues", "steps", "traffic"}
	qt.Check(t, qt.DeepEquals(slices.Sorted(maps.Keys(v.Whole.Charts)), charts))
	for _, chart := range charts {
		if chart != "lanes" { // which shows single steps, and there are too many
			qt.Check(t, qt.IsTrue(v.Whole.Charts[chart] > 100), qt.Commentf("%s: %d", chart, v.Whole.Charts[chart]))
		}
		qt.Check(t, qt.IsTrue(v.Moment.Charts[chart] > 20), qt.Commentf("%s, of a moment: %d", chart, v.Moment.Charts[chart]))
	}
	qt.Check(t, qt.IsTrue(v.Whole.Strip > 100))
	qt.Check(t, qt.IsTrue(v.Whole.Heat > 300))
	for _, what := range []string{"distributions", "phases", "sizes", "classes", "roofline", "falls", "findings", "tiles"} {
		qt.Check(t, qt.IsTrue(v.Whole.Drawn[what] > 1), qt.Commentf("%s: %d", what, v.Whole.Drawn[what]))
	}
	qt.Check(t, qt.IsTrue(v.Whole.Overflow <= 0), qt.Commentf("%v", v.Whole.Overflow))
	qt.Check(t, qt.IsTrue(v.Moment.Overflow <= 0), qt.Commentf("%v", v.Moment.Overflow))
	qt.Check(t, qt.Equals(v.Whole.Title, "session_20260102_030405 · pmtrace"))
	qt.Check(t, qt.Equals(v.Whole.Heading, hostile))
	qt.Check(t, qt.Equals(v.Whole.Images, 0))
	qt.Check(t, qt.Equals(v.Whole.Scripts, 2))
	for _, k := range v.Kept {
		got, want := k[1].(float64), k[2].(float64)
		// The GPU's last work may end behind the last step, and the first began before it.
		qt.Check(t, qt.IsTrue(math.Abs(got-want) <= 1e-6*math.Abs(want)), qt.Commentf("%v: %v, not %v", k[0], got, want))
	}
}

// zoomed: all timelines show the same, wherever one goes.
func (v *visit) zoomed(t *testing.T) {
	at := func(what string) (from, to float64) {
		list := v.Ranges[what]
		qt.Assert(t, qt.HasLen(list, 14))
		from, to = list[0][1].(float64), list[0][2].(float64)
		for _, r := range list {
			qt.Check(t, qt.Equals(r[1].(float64), from), qt.Commentf("%s, %v", what, r))
			qt.Check(t, qt.Equals(r[2].(float64), to), qt.Commentf("%s, %v", what, r))
			for _, tick := range r[3].([]any) { // says where it is
				at, label := tick.([]any)[0].(float64), tick.([]any)[1].(string)
				said, err := strconv.ParseFloat(strings.TrimSuffix(label, " s"), 64)
				qt.Check(t, qt.IsTrue(err == nil && math.Abs(said-at) < 1e-6), qt.Commentf("%s: %q at %v", what, label, at))
			}
		}
		return from, to
	}
	low, high := at("whole")
	from, to := at("dragged")
	near := func(got, want float64) bool { return math.Abs(got-want) < 0.02*(high-low) }
	qt.Check(t, qt.IsTrue(near(from, low+.40*(high-low)) && near(to, low+.50*(high-low))), qt.Commentf("%v to %v of %v to %v", from, to, low, high))
	closer, until := at("closer")
	qt.Check(t, qt.IsTrue(math.Abs((until-closer)-(to-from)/2) < 1e3))
	back, end := at("back")
	qt.Check(t, qt.IsTrue(back == low && end == high))
	for _, what := range []string{"finding", "request"} {
		from, to := at(what)
		qt.Check(t, qt.IsTrue(to-from > 0 && to-from < (high-low)/4), qt.Commentf("%s: %v to %v", what, from, to))
	}
	qt.Check(t, qt.IsTrue(strings.HasPrefix(v.Tip, "step ") && strings.Contains(v.Tip, "requests, ")), qt.Commentf("%q", v.Tip))
}

// TestServedInBrowser: what is zoomed at is asked for, and drawn step by step.
func TestServedInBrowser(t *testing.T) {
	dir, facts := makeServer(t, 14_000)
	handler, err := build(t, dir, facts).Handler(dir, "/secret/")
	qt.Assert(t, qt.IsNil(err))
	server := httptest.NewServer(handler)
	defer server.Close()
	for device, v := range visits(t, server.URL+"/secret/", "desktop light") {
		t.Run(device, func(t *testing.T) {
			qt.Check(t, qt.HasLen(v.Said, 0))
			asked := 0
			for _, url := range v.Asked {
				qt.Check(t, qt.IsTrue(strings.HasPrefix(url, server.URL+"/secret/")), qt.Commentf("%s", url))
				if strings.Contains(url, "/steps?") {
					asked++
				}
			}
			qt.Check(t, qt.IsTrue(asked > 0))
			v.drawn(t)
			v.zoomed(t)
		})
	}
}
