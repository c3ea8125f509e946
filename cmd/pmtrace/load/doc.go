// Package load puts a server of the OpenAI API under load: a fixed number of
// clients, each of which sends its next request when its last has ended, or
// requests at a mean rate whatever becomes of those before. Prompts are random
// tokens; what the server generates is counted and not kept.
package load
