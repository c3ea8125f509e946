package cpython

// CodeConsts gives the constants of a code object (co_consts). The code objects
// of the functions and classes defined in it are among them.
func (r *Runtime) CodeConsts(c Code) ([]uint64, error) {
	v, err := r.fields("code constants", c.Addr, r.off.Code.Consts)
	if err != nil {
		return nil, err
	}
	return r.Tuple(v.u64(r.off.Code.Consts))
}
