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

    /// Under systemd the line starts with its priority (`<6>`, see sd-daemon(3)) and the journal has the time; elsewhere with
    /// both, `2026-11-26T21:43:06.673Z info …`.
    private static let isJournal = getenv("JOURNAL_STREAM") != nil

    private static func write(_ level: Level, _ text: () -> String) {
        guard level >= threshold else { return }
        // One line is one event: a newline inside a message must not look like another one.
        let body = String(text().map { $0.isNewline ? " " : $0 })
        let line = isJournal ? "<\(level.rawValue)>\(body)\n" : "\(wallTime()) \(level) \(body)\n"
        _ = line.withCString { Glibc.write(STDERR_FILENO, $0, strlen($0)) }
    }

    private static func wallTime() -> String {
        var now = timespec()
        clock_gettime(CLOCK_REALTIME, &now)
        var parts = tm()
        gmtime_r(&now.tv_sec, &parts)
        var text = [CChar](repeating: 0, count: 32)
        let length = strftime(&text, text.count, "%Y-%m-%dT%H:%M:%S", &parts)
        let milliseconds = String(now.tv_nsec / 1_000_000 + 1000).dropFirst()
        return String(decoding: text[..<length].map { UInt8(bitPattern: $0) }, as: UTF8.self) + ".\(milliseconds)Z"
    }
}
