import CLinux
import Glibc

/// `bramble mirror-channel`: what rsync starts as its remote shell. It hands the two sockets on which rsync talks, and the
/// words that rsync would have run on the other machine, to the daemon, and waits to be told how it went. So the bytes
/// go from rsync to the daemon without another process in between, and nobody needs ssh or its keys.
package enum MirrorChannel {
    /// The daemon's socket; rsync passes it on to us without knowing.
    static let descriptor: Int32 = 3
    /// Bytes of rsync's words.
    static let longest = 4_096

    /// - Parameter arguments: those after `mirror-channel`.
    package static func run(_ arguments: [String]) -> Int32 {
        let words = Array(arguments.joined(separator: "\0").utf8)
        guard !words.isEmpty, words.count <= longest,
            words.withUnsafeBytes({ clinux_send_pair(descriptor, $0.baseAddress, $0.count, 0, 1) }) == 0
        else {
            let text = "this is started by rsync for the daemon; there is nothing for people here\n"
            _ = text.withCString { write(STDERR_FILENO, $0, strlen($0)) }
            return 2
        }
        // The daemon's copies alone count from here on: when it closes them, rsync sees the end.
        close(0)
        close(1)
        var code: UInt8 = 1
        while true {
            let count = read(descriptor, &code, 1)
            if count < 0, errno == EINTR { continue }
            return count == 1 ? Int32(code) : 1
        }
    }
}
