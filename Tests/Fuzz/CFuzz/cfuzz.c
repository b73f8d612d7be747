#include "cfuzz.h"

// libFuzzer's own main, which comes along and is not used, asks for it: ours chooses the target by name.
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    (void)data;
    (void)size;
    return 0;
}
