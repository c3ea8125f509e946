package journal

// blocksAhead are the blocks of Each: one is looked at, one is read, one waits.
const blocksAhead = 3

// loaded is a block that was read, and its first record that is to be handed on.
type loaded struct {
	block blockReader
	at    int
}

// Each hands the records that are left to f, in order, as Next would, and reads the frames
// after them meanwhile. A payload is valid until f returns; an error of f ends it. The
// Reader is not to be used before Each returns.
func (r *Reader) Each(f func(Record) error) error {
	full, free, quit := make(chan loaded), make(chan blockReader, blocksAhead), make(chan struct{})
	for range blocksAhead - 1 {
		free <- blockReader{}
	}
	go func() {
		defer close(full)
		r.readAhead(full, free, quit)
	}()
	defer func() {
		close(quit)
		for range full { // until it has ended
		}
	}()
	for l := range full {
		for i := l.at; i < len(l.block.spans); i++ {
			if err := f(l.block.record(i)); err != nil {
				return err
			}
		}
		free <- l.block
	}
	return nil
}

func (r *Reader) readAhead(full chan<- loaded, free <-chan blockReader, quit <-chan struct{}) {
	for r.at < len(r.block.spans) || r.nextFrame() {
		select {
		case full <- loaded{r.block, r.at}:
		case <-quit:
			return
		}
		select {
		case r.block = <-free:
		case <-quit:
			return
		}
		r.block.spans, r.at = r.block.spans[:0], 0
	}
}
