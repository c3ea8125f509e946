package hook

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Language is what a function is written in.
type Language string

// The languages.
const (
	Python Language = "py"
	C      Language = "c"
)

// Process is in which of a server's processes a function is watched.
type Process string

// The processes. Of a Python function its main thread is watched; of an engine's the
// one that runs the scheduler.
const (
	Engine    Process = "engine"
	Worker    Process = "worker"
	APIServer Process = "api_server"
)

// What the programs have room for (bpf/hook.h).
const (
	MaxArguments = 8
	MaxSteps     = 4
	MaxName      = 48 // bytes of an attribute's
)

// Defaults of a Spec.
const (
	// Rate is how many calls a second are told of one by one.
	Rate = 10_000
	// PythonLimit and CLimit are how many calls a second a function may have: above
	// it is no longer watched. In a virtual machine a hit costs its thread 10 µs in Python
	// and 1 µs in C (e2e/bench/HOOKS.md): a tenth of its time.
	PythonLimit = 10_000
	CLimit      = 100_000
)

// Spec is a function that is to be watched.
type Spec struct {
	Language Language
	Where    string // the module, or the library's file name
	Function string // qualified name, or symbol
	Name     string // in the table
	Process  Process

	Arguments []Argument
	Result    Type // of a C function; "": not wanted
	// Duration: true: not without; false: not wanted; nil: if it can be had at no
	// other's cost.
	Duration *bool
	Rate     int // calls a second that are told of
	Limit    int // calls a second above which it is watched no longer; 0: none
}

// String is the function as the user writes it.
func (s Spec) String() string { return string(s.Language) + ":" + s.Where + ":" + s.Function }

// WantsReturn says whether a C function's return is watched.
func (s Spec) WantsReturn() bool {
	return s.Result != "" || s.Duration == nil || *s.Duration
}

// Argument is a value that is captured as a function is entered.
type Argument struct {
	Text string // as written

	// Of a Python function: a local (an argument), attributes from there on, and
	// whether the length is meant.
	Local  string
	Path   []string
	Length bool

	// Of a C function.
	Number int
	Type   Type
}

// Type is how the bits of a C function's argument or result are meant.
type Type string

// The types. None is read through.
const (
	I64     Type = "i64"
	U64     Type = "u64"
	I32     Type = "i32"
	U32     Type = "u32"
	Pointer Type = "ptr"
)

func types() []Type { return []Type{I64, U64, I32, U32, Pointer} }

// SpecError says what is wrong with what the user wrote.
type SpecError struct {
	Spec, Why, Remedy string
}

func (e *SpecError) Error() string { return e.Spec + ": " + e.Why + "; " + e.Remedy }

var (
	module     = regexp.MustCompile(`^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$`)
	identifier = regexp.MustCompile(`^[A-Za-z_]\w*$`)
	symbol     = regexp.MustCompile(`^[A-Za-z_.$][\w.$@]*$`)
)

const form = "write py:module:Class.method(argument, len(argument.attribute)) or c:libfoo.so:symbol(0, 1:u32, ret:i32)"

// Parse reads a function as --hook has it.
func Parse(text string) (Spec, error) {
	bad := func(why, remedy string, args ...any) (Spec, error) {
		return Spec{}, &SpecError{text, fmt.Sprintf(why, args...), remedy}
	}
	body, list, listed := strings.Cut(strings.TrimSpace(text), "(")
	parts := strings.SplitN(body, ":", 3)
	if len(parts) != 3 {
		return bad("no hook", form)
	}
	s := Spec{Language: Language(parts[0]), Where: parts[1], Function: parts[2]}
	if err := s.check(); err != nil {
		return Spec{}, err
	}
	s.defaults()
	if !listed {
		return s, nil
	}
	if !strings.HasSuffix(list, ")") {
		return bad("the list of arguments has no end", form)
	}
	var words []string
	if list = strings.TrimSpace(strings.TrimSuffix(list, ")")); list != "" {
		words = strings.Split(list, ",")
	}
	for _, w := range words {
		w = strings.TrimSpace(w)
		if result, ok := strings.CutPrefix(w, "ret"); ok && s.Language == C && (result == "" || result[0] == ':') {
			t, err := s.typed(strings.TrimPrefix(result, ":"))
			if err != nil {
				return Spec{}, err
			}
			s.Result = t
			continue
		}
		if err := s.argument(w); err != nil {
			return Spec{}, err
		}
	}
	return s, nil
}

// check looks at what names the function.
func (s *Spec) check() error {
	bad := func(why, remedy string) error { return &SpecError{s.String(), why, remedy} }
	switch s.Language {
	case Python:
		if !module.MatchString(s.Where) {
			return bad(fmt.Sprintf("%q is no module's name", s.Where), form)
		}
		for _, part := range strings.Split(s.Function, ".") {
			if !identifier.MatchString(part) {
				return bad(fmt.Sprintf("%q is no function's name", s.Function), "write Class.method, or function; one within another function has no name from outside")
			}
		}
	case C:
		if s.Where == "" || strings.ContainsAny(s.Where, "/ ") {
			return bad(fmt.Sprintf("%q is no library's file name", s.Where), "write it as the process's maps end with it, without the directory: c:libfoo.so:symbol")
		}
		if !symbol.MatchString(s.Function) {
			return bad(fmt.Sprintf("%q is no symbol", s.Function), form)
		}
	default:
		return bad(fmt.Sprintf("%q is no kind of hook", string(s.Language)), "there are py: and c:")
	}
	return nil
}

func (s *Spec) defaults() {
	s.Name, s.Process, s.Rate = s.Function, Engine, Rate
	s.Limit = PythonLimit
	if s.Language == C {
		s.Limit = CLimit
	}
}

func (s *Spec) argument(text string) error {
	if len(s.Arguments) == MaxArguments {
		return &SpecError{s.String(), fmt.Sprintf("more than %d arguments", MaxArguments), "leave some out"}
	}
	a, err := s.parseArgument(text)
	if err != nil {
		return err
	}
	s.Arguments = append(s.Arguments, a)
	return nil
}

func (s *Spec) parseArgument(text string) (Argument, error) {
	bad := func(why, remedy string) (Argument, error) { return Argument{}, &SpecError{s.String(), why, remedy} }
	a := Argument{Text: text}
	if s.Language == C {
		number, typed, _ := strings.Cut(text, ":")
		n, err := strconv.Atoi(number)
		if err != nil || n < 0 || n > 15 {
			return bad(fmt.Sprintf("%q is no argument", text), "arguments of C functions are numbers from 0 on, with a type where it is not i64: 1:u32")
		}
		a.Number = n
		a.Type, err = s.typed(typed)
		return a, err
	}
	path := text
	if inner, ok := strings.CutPrefix(path, "len("); ok && strings.HasSuffix(inner, ")") {
		path, a.Length = strings.TrimSuffix(inner, ")"), true
	} else if inner, ok := strings.CutSuffix(path, ".__len__"); ok {
		path, a.Length = inner, true
	}
	steps := strings.Split(path, ".")
	for _, step := range steps {
		if !identifier.MatchString(step) {
			return bad(fmt.Sprintf("%q is no path", text), "write an argument of the function and attributes: self.scheduler.running, len(request.prompt_token_ids)")
		}
		if len(step) > MaxName {
			return bad(fmt.Sprintf("%q is longer than %d bytes", step, MaxName), "leave it out")
		}
	}
	a.Local, a.Path = steps[0], steps[1:]
	a.Length = a.Length || saysText(steps[len(steps)-1])
	if len(a.Path) > MaxSteps {
		return bad(fmt.Sprintf("%q has more than %d attributes", text, MaxSteps), "begin nearer to the value")
	}
	return a, nil
}

var (
	token  = regexp.MustCompile(`(^|_)tokens?(_ids?)?$`)
	number = regexp.MustCompile(`^(num|max|min|total|n)_`)
)

// saysText says whether a name is one of tokens, of which one after the other would be
// text: of these only lengths are read.
func saysText(name string) bool { return token.MatchString(name) && !number.MatchString(name) }

func (s *Spec) typed(text string) (Type, error) {
	if text == "" {
		return I64, nil
	}
	for _, t := range types() {
		if text == string(t) {
			return t, nil
		}
	}
	return "", &SpecError{s.String(), fmt.Sprintf("%q is no type", text), "there are i64, u64, i32, u32 and ptr"}
}
