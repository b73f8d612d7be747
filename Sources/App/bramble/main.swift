import Commands
import Daemon
import Glibc

// Closures that C calls must not be written here: they would belong to the main actor. So this only calls.
exit(await Executable.run())
