// What the tests' libcupti can be told to do.
#include <stdint.h>

// mock_launch is a call of cudaGraphLaunch and the replay; its correlation number.
uint32_t mock_launch(uint64_t exec, uint64_t stream, uint32_t graph, uint32_t kernels,
		     uint64_t start, uint64_t end, int result);
void mock_kernel(const char *name, uint32_t correlation, uint32_t graph, uint64_t start,
		 uint64_t end);
// mock_make captures a graph and instantiates it.
void mock_make(void);
void mock_copy(int kind, uint64_t bytes, uint64_t start, uint64_t end);
// mock_called is a call of the driver's function of that number, as its callback tells it.
void mock_called(uint32_t id, const void *params, const char *symbol);
// mock_enabled counts what is switched on.
int mock_enabled(void);
