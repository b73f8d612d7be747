package import FoundationEssentials
import Glibc

/// Where a command writes and reads, and what the other end can show.
package struct Terminal: Sendable {
    /// Columns; nil when output goes to a file or a pipe, which has no width.
    package var width: Int?
    package var height: Int?
    package var hasColour = false
    /// Whether bars and check marks can be shown.
    package var hasUnicode = true
    /// A person can be asked: both what is read and where the question is written are terminals.
    package var canAsk = false
    package var write: @Sendable (String) -> Void
    package var complain: @Sendable (String) -> Void
    /// One line of standard input without its end; nil at the end of input.
    package var readLine: @Sendable () -> String?
    /// The same without showing what is typed.
    package var readSecret: @Sendable () -> String?
    package var now: @Sendable () -> Date = { Date() }

    /// The terminal, or the files, of this process.
    package static func ofProcess(environment: [String: String]) -> Terminal {
        let isScreen = isatty(STDOUT_FILENO) == 1
        let size = isScreen ? screenSize() : nil
        let mayColour = (environment["NO_COLOR"] ?? "").isEmpty && (environment["TERM"] ?? "dumb") != "dumb"
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].lazy.compactMap { environment[$0] }.first { !$0.isEmpty } ?? ""
        return Terminal(
            width: size?.columns, height: size?.rows, hasColour: isScreen && mayColour,
            // A file is read who knows where; on a screen the locale tells.
            hasUnicode: !isScreen || locale.uppercased().contains("UTF"),
            canAsk: isatty(STDIN_FILENO) == 1 && isatty(STDERR_FILENO) == 1,
            write: { writeAll($0, to: STDOUT_FILENO) }, complain: { writeAll($0, to: STDERR_FILENO) },
            readLine: { Swift.readLine() }, readSecret: { readWithoutEcho() })
    }

    static func screenSize() -> (columns: Int, rows: Int)? {
        var size = winsize()
        guard ioctl(STDOUT_FILENO, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0 else { return nil }
        return (Int(size.ws_col), Int(size.ws_row))
    }

    /// Whole, or the process ends: a reader that went away (EPIPE) needs no message, a full disk does.
    private static func writeAll(_ text: String, to descriptor: Int32) {
        var rest = Array(text.utf8)[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
            if count >= 0 {
                rest = rest.dropFirst(count)
            } else if errno == EAGAIN {
                // Somebody else made the shared descriptor non-blocking.
                var wait = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
                poll(&wait, 1, -1)
            } else if errno != EINTR {
                if errno != EPIPE, descriptor == STDOUT_FILENO {
                    writeAll(
                        "bramble: cannot write: \(String(cString: strerror(errno)))\nremedy: check the disk and the file\n",
                        to: STDERR_FILENO)
                }
                exit(1)
            }
        }
    }

    private static func readWithoutEcho() -> String? {
        var before = termios()
        guard tcgetattr(STDIN_FILENO, &before) == 0 else { return Swift.readLine() }
        var quiet = before
        quiet.c_lflag &= ~tcflag_t(ECHO)
        quiet.c_lflag |= tcflag_t(ECHONL)
        tcsetattr(STDIN_FILENO, TCSAFLUSH, &quiet)
        defer { tcsetattr(STDIN_FILENO, TCSAFLUSH, &before) }
        return Swift.readLine()
    }
}

/// Colours of a terminal's own palette, so that they fit its background.
enum Colour: String, Sendable {
    case green = "32"
    case yellow = "33"
    case red = "31"
    case faint = "2"
    case strong = "1"
}

extension Terminal {
    func paint(_ text: String, _ colour: Colour?) -> String {
        guard hasColour, let colour, !text.isEmpty else { return text }
        return "\u{1B}[\(colour.rawValue)m\(text)\u{1B}[0m"
    }
}
