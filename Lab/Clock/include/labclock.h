// Nothing to call: the library works by being preloaded.
#pragma once
