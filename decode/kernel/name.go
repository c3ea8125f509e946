package kernel

import "strings"

// split takes a kernel's name apart: the function that it is of, qualified, and
// what follows it, template arguments and parameters as they are written.
func split(name string) (function, rest string) {
	if mangled, ok := strings.CutPrefix(name, "_Z"); ok {
		return splitMangled(mangled)
	}
	if i := strings.Index(name, "_object_at_"); i > 0 && strings.HasPrefix(name, "kernel_cutlass_") { // the CuTe DSL
		return name[:i], name[i:]
	}
	return splitDemangled(name)
}

// splitMangled reads the source names at the beginning of an Itanium mangled
// name, up to the first template argument. That is all of a kernel's name but
// for the members of class templates, which end at their class.
func splitMangled(s string) (function, rest string) {
	s = strings.TrimPrefix(s, "L") // internal linkage
	nested := strings.HasPrefix(s, "N")
	if nested {
		s = s[1:]
	}
	var path strings.Builder
	for {
		if std, ok := strings.CutPrefix(s, "St"); ok && path.Len() == 0 {
			path.WriteString("std")
			s = std
			continue
		}
		word, after := sourceName(s)
		if word == "" {
			break
		}
		s = after
		if !strings.HasPrefix(word, "_GLOBAL__N_") { // an anonymous namespace
			if path.Len() > 0 {
				path.WriteString("::")
			}
			path.WriteString(word)
		}
		if !nested && word != "std" {
			break
		}
	}
	return path.String(), s
}

// sourceName reads a length and as many bytes.
func sourceName(s string) (word, after string) {
	n, digits := 0, 0
	for digits < len(s) && digits < 5 && s[digits] >= '0' && s[digits] <= '9' {
		n = n*10 + int(s[digits]-'0')
		digits++
	}
	if digits == 0 || n == 0 || n > len(s)-digits {
		return "", s
	}
	return s[digits : digits+n], s[digits+n:]
}

const anonymous = "(anonymous namespace)"

// splitDemangled takes what stands outside of template arguments before the
// parameters, from the last space on: a return type stands before it.
func splitDemangled(s string) (function, rest string) {
	var kept []byte // the function so far, if template arguments were left out of it
	depth, begin, piece, end := 0, 0, 0, len(s)
	first := -1 // where its first template argument begins
scan:
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '<':
			if depth == 0 {
				kept = append(kept, s[piece:i]...)
				if first < 0 {
					first = i
				}
			}
			depth++
		case c == '>' && depth > 0:
			depth--
			piece = i + 1
		case depth > 0:
		case c == '(' && strings.HasPrefix(s[i:], anonymous):
			kept = append(kept, s[piece:i]...)
			i += len(anonymous) - 1
			if strings.HasPrefix(s[i+1:], "::") {
				i += 2
			}
			piece = i + 1
		case c == '(':
			end = i
			break scan
		case c == ' ':
			if next := s[i+1:]; next == "" || next[0] == '[' || next[0] == '(' && !strings.HasPrefix(next, anonymous) { // trailing, or [clone …]
				end = i
				break scan
			}
			kept, first, begin, piece = kept[:0], -1, i+1, i+1
		}
	}
	if piece > end || depth > 0 {
		piece = end
	}
	if first < 0 {
		first = end
	}
	if len(kept) == 0 && piece == begin {
		return s[begin:end], s[first:]
	}
	return string(append(kept, s[piece:end]...)), s[first:]
}
