package render

import "math"

// Window is the part of a session that is shown, ns of the session. What lies in
// it in part is shown whole.
type Window struct{ From, To int64 }

// Always is the whole session, with what is known from before it.
var Always = Window{math.MinInt64, math.MaxInt64}

func (w Window) overlaps(from, to int64) bool { return from <= w.To && to >= w.From }
