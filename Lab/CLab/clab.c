// CLab is a header; SwiftPM wants one source file.
#include "clab.h"
