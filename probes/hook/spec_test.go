package hook

import (
	"testing"

	"github.com/go-quicktest/qt"
)

func TestParse(t *testing.T) {
	py, err := Parse("py:vllm.v1.core.sched.scheduler:Scheduler.add_request(request.num_prompt_tokens, len(self.waiting), self.running.__len__, flag)")
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.DeepEquals(py, Spec{
		Language: Python, Where: "vllm.v1.core.sched.scheduler", Function: "Scheduler.add_request", Name: "Scheduler.add_request", Process: Engine,
		Rate: Rate, Limit: PythonLimit, Arguments: []Argument{
			{Text: "request.num_prompt_tokens", Local: "request", Path: []string{"num_prompt_tokens"}},
			{Text: "len(self.waiting)", Local: "self", Path: []string{"waiting"}, Length: true},
			{Text: "self.running.__len__", Local: "self", Path: []string{"running"}, Length: true},
			{Text: "flag", Local: "flag", Path: []string{}},
		},
	}))
	qt.Check(t, qt.Equals(py.String(), "py:vllm.v1.core.sched.scheduler:Scheduler.add_request"))

	c, err := Parse("c:libfoo.so.1:frob(0, 3:u32, ret:i32)")
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.DeepEquals(c, Spec{
		Language: C, Where: "libfoo.so.1", Function: "frob", Name: "frob", Process: Engine, Rate: Rate, Limit: CLimit, Result: I32,
		Arguments: []Argument{{Text: "0", Type: I64}, {Text: "3:u32", Number: 3, Type: U32}},
	}))
	for _, text := range []string{"py:m:f", "py:m:f()", "c:python3.12:PyGC_Collect", "c:lib.so:_Z3foov(ret)"} {
		_, err := Parse(text)
		qt.Check(t, qt.IsNil(err), qt.Commentf("%s", text))
	}
}

// Tokens are never read as numbers, since in their order they are text.
func TestTokensAreCounted(t *testing.T) {
	for path, length := range map[string]bool{
		"token_ids": true, "request.prompt_token_ids": true, "new_token_ids": true, "token": true, "self.last_token_id": true, "a.sampled_tokens": true,
		"request.num_prompt_tokens": false, "max_tokens": false, "total_num_scheduled_tokens": false, "n_tokens": false, "tokenizer": false, "request.priority": false,
	} {
		s, err := Parse("py:m:f(" + path + ")")
		qt.Assert(t, qt.IsNil(err))
		qt.Check(t, qt.Equals(s.Arguments[0].Length, length), qt.Commentf("%s", path))
	}
}

// What cannot be meant is said in one line, with what can.
func TestBadSpecs(t *testing.T) {
	for text, want := range map[string]string{
		"":                          `: no hook; write py:module:Class.method\(.*`,
		"scheduler.add":             `scheduler.add: no hook; write .*`,
		"go:main:f":                 `go:main:f: "go" is no kind of hook; there are py: and c:`,
		"py:1a:f":                   `py:1a:f: "1a" is no module's name; .*`,
		"py:m:":                     `py:m:: "" is no function's name; .*`,
		"py:m:f.<locals>.g":         `py:m:f.<locals>.g: .* is no function's name; .*one within another.*`,
		"py:m:f(":                   `py:m:f\(: the list of arguments has no end; .*`,
		"py:m:f(a b)":               `py:m:f: "a b" is no path; .*`,
		"py:m:f(a.b.c.d.e.f)":       `py:m:f: "a.b.c.d.e.f" has more than 4 attributes; .*`,
		"py:m:f(a,b,c,d,e,f,g,h,i)": `py:m:f: more than 8 arguments; .*`,
		"py:m:f(ret:i32)":           `py:m:f: "ret:i32" is no path; .*`,
		"c:/lib/libfoo.so:f":        `c:/lib/libfoo.so:f: "/lib/libfoo.so" is no library's file name; .*`,
		"c:libfoo.so:f g":           `c:libfoo.so:f g: "f g" is no symbol; .*`,
		"c:libfoo.so:f(a)":          `c:libfoo.so:f: "a" is no argument; .*`,
		"c:libfoo.so:f(16)":         `c:libfoo.so:f: "16" is no argument; .*`,
		"c:libfoo.so:f(0:str)":      `c:libfoo.so:f: "str" is no type; there are i64, u64, i32, u32 and ptr`,
	} {
		_, err := Parse(text)
		qt.Check(t, qt.ErrorMatches(err, want), qt.Commentf("%s", text))
	}
}

func TestReadFile(t *testing.T) {
	got, err := ReadFile([]byte(`
hooks:
  - py: a.b:C.d
    name: dee
    args: [x, len(self.y)]
    duration: true
    process: worker
    rate: 50
    limit: 0
  - c: libfoo.so:frob
    args: [0, "1:ptr"]
    result: u32
`))
	qt.Assert(t, qt.IsNil(err))
	qt.Assert(t, qt.HasLen(got, 2))
	yes := true
	qt.Check(t, qt.DeepEquals(got[0], Spec{
		Language: Python, Where: "a.b", Function: "C.d", Name: "dee", Process: Worker, Duration: &yes, Rate: 50, Arguments: []Argument{
			{Text: "x", Local: "x", Path: []string{}}, {Text: "len(self.y)", Local: "self", Path: []string{"y"}, Length: true},
		},
	}))
	qt.Check(t, qt.Equals(got[1].Result, U32))
	qt.Check(t, qt.Equals(got[1].Arguments[1].Type, Pointer))

	for text, want := range map[string]string{
		"":                                "it has no list `hooks`, or an empty one",
		"hooks: []":                       "it has no list `hooks`, or an empty one",
		"hooks: [{py: 'm:f', args: 3}]":   ".*line 1: cannot unmarshal .*",
		"hooks: [{py: 'm:f', colour: 3}]": ".*field colour not found.*",
		"hooks: [{name: f}]":              "hook 1: it wants either py: .* or c: .*",
		"hooks: [{py: 'm:f', c: 'l:f'}]":  "hook 1: it wants either .*",
		"hooks: [{py: f}]":                "hook 1: py:f: no hook; .*",
		"hooks: [{py: 'm:f'}, {py: 'm:f', process: gpu}]":            `hook 2: py:m:f: "gpu" is no process; .*`,
		"hooks: [{py: 'm:f', result: i32}]":                          "hook 1: py:m:f: what a Python function returns is not read; .*",
		"hooks: [{py: 'm:f', rate: 1}]":                              "hook 1: py:m:f: rate 1 is out of range; .*",
		"hooks: [{c: 'libc.so:f', result: i32, duration: false}]":    "hook 1: c:libc.so:f: a result cannot be had without the return; .*",
		"hooks: [{py: 'm:f', name: \"a\\tb\"}]":                      "hook 1: py:m:f: its name is .*",
		"hooks: [{py: 'm:f', args: [a, b, c, d, e, f, g, h, i, j]}]": "hook 1: py:m:f: more than 8 arguments; .*",
	} {
		_, err := ReadFile([]byte(text))
		qt.Check(t, qt.ErrorMatches(err, want), qt.Commentf("%s", text))
	}
}

func TestNear(t *testing.T) {
	names := []string{"add_request", "add", "finish_requests", "schedule", "update_from_output"}
	qt.Check(t, qt.DeepEquals(near("add_reqest", names), []string{"add_request"}))
	qt.Check(t, qt.DeepEquals(near("Schedule", names), []string{"schedule"}))
	qt.Check(t, qt.HasLen(near("zzz", names), 0))
}

func TestFits(t *testing.T) {
	spec := "py:vllm.v1.core.sched.scheduler:Scheduler.add_request"
	for pattern, want := range map[string]bool{
		"": true, "scheduler.ADD": true, "Scheduler.*": true, "sched*add": true, "[": false, "engine": false, "add_request$": false,
	} {
		qt.Check(t, qt.Equals(fits(spec, pattern), want), qt.Commentf("%s", pattern))
	}
}

// FuzzParse: no text makes the reading of hooks panic, and what it takes it writes the same.
func FuzzParse(f *testing.F) {
	f.Add("py:m:C.f(a.b, len(c))")
	f.Add("c:libfoo.so:f(0, 1:u32, ret:i32)")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := Parse(text)
		if err != nil {
			return
		}
		again, err := Parse(s.String())
		if err != nil || again.Function != s.Function || len(s.Arguments) > MaxArguments {
			t.Fatalf("%q: %+v: %v", text, s, err)
		}
	})
}
