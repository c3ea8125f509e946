// Package model computes from a model's config.json what a step of its decoder
// must at least do: bytes of weights and of KV cache read, and floating-point
// operations; and from the time that the step took, the shares of the GPU's
// bandwidth (MBU) and arithmetic (MFU) that it used.
//
// It counts what cannot be avoided: each weight that is needed read once, each
// KV entry in reach read once a step, padding not counted, and only the
// operations of matrix products and attention. Activations, encoders, towers for
// images and sound, LoRA, and drafts are left out. What it does not know it
// says instead of guessing: an unknown architecture is an error, a figure that
// rests on an assumption is marked as an estimate, with the assumption.
package model
