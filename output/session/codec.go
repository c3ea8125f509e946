package session

import (
	"github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go/format"
)

// zstdCodec compresses pages with small encoders for all tables, as many as compress at once.
// parquet-go's own keeps one a goroutine, each with a window of 8 MiB, where a page has a
// quarter of one.
type zstdCodec struct {
	encoder *zstd.Encoder
	decoder *zstd.Decoder
}

func newCodec(atOnce int) (*zstdCodec, error) {
	encoder, err := zstd.NewWriter(nil,
		zstd.WithEncoderConcurrency(atOnce),
		zstd.WithLowerEncoderMem(true),
		zstd.WithWindowSize(compressBytes),
		zstd.WithEncoderLevel(zstd.SpeedDefault),
		zstd.WithZeroFrames(true),
		zstd.WithEncoderCRC(false))
	if err != nil {
		return nil, err
	}
	decoder, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(atOnce))
	if err != nil {
		return nil, err
	}
	return &zstdCodec{encoder: encoder, decoder: decoder}, nil
}

func (c *zstdCodec) String() string { return "ZSTD" }

func (c *zstdCodec) CompressionCodec() format.CompressionCodec { return format.Zstd }

func (c *zstdCodec) Encode(dst, src []byte) ([]byte, error) {
	return c.encoder.EncodeAll(src, dst[:0]), nil
}

func (c *zstdCodec) Decode(dst, src []byte) ([]byte, error) {
	return c.decoder.DecodeAll(src, dst[:0])
}
