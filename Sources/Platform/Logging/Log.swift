@preconcurrency import Glibc

/// The daemon's log: standard error, one event a line, for journald or a terminal.
///
/// Operators read `info` and above; `debug` is for developers and is off unless asked for. Nothing secret is ever
/// passed to it: keys, passwords and tokens have types that do not print.
package enum Log {
    package enum Level: Int, Comparable, Sendable {
        case debug = 7, info = 6, warning = 4, error = 3
        package static func < (a: Level, b: Level) -> Bool { a.rawValue > b.rawValue }
    }

    /// Set once by the daemon before its threads start.
    package nonisolated(unsafe) static var threshold = Level.info

    package static func debug(_ text: @autoclosure () -> String) { write(.debug, text) }
    package static func info(_ text: @autoclosure () -> String) { write(.info, text) }
    package static func warning(_ text: @autoclosure () -> String) { write(.warning, text) }
    package static func error(_ text: @autoclosure () -> String) { write(.error, text) }

    /// Under systemd the line starts with its priority (`<6>`, see sd-daemon(3)); on a terminal with the level's name.
    private static let isJournal = getenv("JOURNAL_STREAM") != nil

    private static func write(_ level: Level, _ text: () -> String) {
        guard level >= threshold else { return }
        // One line is one event: a newline inside a message must not look like another one.
        let body = String(text().map { $0.isNewline ? " " : $0 })
        let line = isJournal ? "<\(level.rawValue)>\(body)\n" : "\(level) \(body)\n"
        _ = line.withCString { Glibc.write(STDERR_FILENO, $0, strlen($0)) }
    }
}
