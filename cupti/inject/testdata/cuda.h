// What the tests' libcuda can be told to do.
#define MOCK_GPU_CLOCK 1700000000000000000ull // its clock less CLOCK_MONOTONIC

void mock_capture(int on);
// mock_replay runs what was captured; before: is told which node comes.
void mock_replay(void (*before)(int node));
void mock_context(void *c);
