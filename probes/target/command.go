package target

import (
	"regexp"
	"strings"
	"sync"
)

const redacted = "***"

// Redact returns a command without what looks like a secret: the values of
// arguments and of environment-like words whose name says key, token, secret
// or password, tokens known by their form, and passwords in URLs. Rather one
// too many than one too few.
func Redact(argv []string) []string {
	out := make([]string, len(argv))
	hide := false // the value of a secret flag follows
	for i, a := range argv {
		switch {
		case strings.HasPrefix(a, "-"):
			name, _, hasValue := strings.Cut(a, "=")
			secret := secretName(name)
			hide = secret && !hasValue
			if secret && hasValue {
				a = name + "=" + redacted
			}
		case hide:
			a = redacted
		}
		out[i] = redactText(a)
	}
	return out
}

// secretName says whether an argument of this name holds a secret. vLLM has
// harmless ones that sound alike: --tokenizer…, --max-num-batched-tokens.
func secretName(name string) bool {
	name = strings.ToLower(strings.TrimLeft(name, "-"))
	for _, word := range []string{"secret", "password", "passwd", "credential"} {
		if strings.Contains(name, word) {
			return true
		}
	}
	name = strings.ReplaceAll(name, "tokenizer", "")
	name = strings.ReplaceAll(name, "tokens", "")
	return strings.Contains(name, "key") || strings.Contains(name, "token")
}

// redactText hides secrets inside a word or a shell's command line.
func redactText(s string) string {
	p := secretPatterns()
	s = p.form.ReplaceAllString(s, redacted)
	s = p.url.ReplaceAllString(s, "${1}"+redacted+"@")
	s = p.json.ReplaceAllStringFunc(s, func(m string) string {
		f := p.json.FindStringSubmatch(m)
		if !secretName(f[1]) {
			return m
		}
		return `"` + f[1] + `": "` + redacted + `"`
	})
	for _, pair := range []*regexp.Regexp{p.flag, p.env} {
		s = pair.ReplaceAllStringFunc(s, func(m string) string {
			f := pair.FindStringSubmatch(m)
			if !secretName(strings.TrimSpace(f[1])) {
				return m
			}
			return f[1] + f[2] + redacted
		})
	}
	return s
}

type patterns struct {
	form *regexp.Regexp // tokens known by their form
	url  *regexp.Regexp // user:password@ in URLs
	json *regexp.Regexp // "name": "value"
	flag *regexp.Regexp // --name value in a shell's command line
	env  *regexp.Regexp // NAME=value there
}

var secretPatterns = sync.OnceValue(func() patterns {
	return patterns{
		form: regexp.MustCompile(`\b(hf_[A-Za-z0-9]{16,}|sk-[A-Za-z0-9_-]{16,}|gh[pousr]_[A-Za-z0-9]{20,}|AKIA[A-Z0-9]{16})`),
		url:  regexp.MustCompile(`(://[^/\s:@]*:)[^/\s@]+@`),
		json: regexp.MustCompile(`"([^"]{1,128})"\s*:\s*"[^"]*"`),
		flag: regexp.MustCompile(`((?:^|\s)--[A-Za-z0-9_-]+)(=|\s+)("[^"]*"|'[^']*'|[^\s"']+)`),
		env:  regexp.MustCompile(`([A-Za-z_][A-Za-z0-9_]*)(=)("[^"]*"|'[^']*'|[^\s"']+)`),
	}
})

// flagValue finds the value of the last --name in args: `--name v`, `--name=v`;
// vLLM takes _ for - in names.
func flagValue(args []string, names ...string) string {
	value := ""
	for i, a := range args {
		flag, v, hasValue := strings.Cut(a, "=")
		for _, n := range names {
			if strings.ReplaceAll(flag, "_", "-") != n {
				continue
			}
			if hasValue {
				value = v
			} else if i+1 < len(args) {
				value = args[i+1]
			}
		}
	}
	return value
}

// modelOf is the model that a server's arguments name: --served-model-name is
// what clients call it, so it is not asked here.
func modelOf(args []string) string {
	if m := flagValue(args, "--model"); m != "" {
		return m
	}
	for i, a := range args {
		if strings.HasPrefix(a, "-") {
			continue
		}
		if i == 0 || !takesValue(args[i-1]) {
			return a
		}
	}
	return ""
}

// takesValue guesses whether a flag is followed by its value. Only the form of
// vLLM's switches is known here, not their list.
func takesValue(flag string) bool {
	if !strings.HasPrefix(flag, "-") || strings.Contains(flag, "=") {
		return false
	}
	for _, p := range []string{"--enable-", "--no-", "--disable-", "--enforce-eager", "--trust-remote-code"} {
		if strings.HasPrefix(strings.ReplaceAll(flag, "_", "-"), p) {
			return false
		}
	}
	return true
}

// portOf is the port that a server's arguments name, vLLM's default otherwise.
func portOf(args []string) int {
	return atoi(flagValue(args, "--port"), 8000)
}
