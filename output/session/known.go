package session

// OutputsKnown reports whether it was watched on one engine at least what its steps handed
// out. Without, tokens and ends that nobody saw are not none.
func (f *Facts) OutputsKnown() bool { return f.watched(watchUpdateReturn) }

// EvictionsKnown reports the same of what happened to KV blocks.
func (f *Facts) EvictionsKnown() bool { return f.watched(watchFreeBlocks) }
