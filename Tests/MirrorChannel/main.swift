// What `bramble mirror-channel` is, without the rest of bramble: for tests of the mirrors alone.
import Engines
import Glibc

exit(MirrorChannel.run(Array(CommandLine.arguments.dropFirst())))
