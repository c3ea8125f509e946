package cpython

// CodeNames gives the str objects of the names that a code object uses for
// attributes and globals (co_names). The interpreter interns them, so they are
// the very objects that dicts and shared keys have as keys.
func (r *Runtime) CodeNames(c Code) ([]uint64, error) {
	v, err := r.fields("code names", c.Addr, r.off.Code.Names)
	if err != nil {
		return nil, err
	}
	return r.Tuple(v.u64(r.off.Code.Names))
}
