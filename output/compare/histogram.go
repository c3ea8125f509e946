package compare

import "math/bits"

// Each power of two of a histogram has 512 buckets: a bucket is at most 0.2 % wide, and
// percentiles are interpolated within.
const subBucketBits = 9

// bucketOf returns the bucket of a value; what is below 0 counts as 0.
func bucketOf(ns int64) int32 {
	v := uint64(max(ns, 0))
	row := max(0, bits.Len64(v)-subBucketBits-1)
	return int32(row<<subBucketBits + int(v>>row))
}

// boundsOf returns where a bucket begins, and how wide it is.
func boundsOf(bucket int32) (low, width float64) {
	row := max(0, int(bucket>>subBucketBits)-1)
	return float64((int64(bucket) - int64(row)<<subBucketBits) << row), float64(int64(1) << row)
}
