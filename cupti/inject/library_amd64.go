package inject

import _ "embed"

//go:embed libpmtrace_cupti.so
var library []byte
