import Logging
import Mirrors
import Primitives

/// What has to outlive a restart: which epochs were heard of, and whose files are here as a whole. One line for each mirror.
struct RecordFile {
    let path: String
    private static let longest = 1 << 20

    func read() -> [MirrorRecord] {
        (EngineFile.read(path, atMost: Self.longest) ?? "").split(separator: "\n").compactMap { Self.record($0) }
    }

    /// In place of the old file as a whole, and on the disk when this returns.
    func write(_ records: [MirrorRecord]) {
        let text = records.map { Self.line($0) + "\n" }.joined()
        do throws(EngineFailure) {
            try EngineFile.replace(path, with: text, mode: 0o600, isLasting: true)
        } catch { Log.error("\(error.problem). \(error.remedy)") }
    }

    private static func line(_ record: MirrorRecord) -> String {
        let words: [String] = [
            record.mirror.description, "\(record.highest)", "\(record.fed)", "\(record.whole)",
            record.source?.description ?? "-", record.wholeAt ?? "-", "\(record.lastFiles)", "\(record.lastBytes)",
        ]
        return words.joined(separator: " ")
    }

    private static func record(_ line: Substring) -> MirrorRecord? {
        let words = line.split(separator: " ")
        guard words.count >= 8, let mirror = ServiceName(words[0]), let highest = UInt64(words[1]),
            let fed = UInt64(words[2]), let whole = UInt64(words[3])
        else { return nil }
        var record = MirrorRecord(mirror: mirror)
        record.highest = Epoch(highest)
        record.fed = Epoch(fed)
        record.whole = Epoch(whole)
        record.source = NodeID(words[4])
        record.wholeAt = words[5] == "-" ? nil : String(words[5])
        record.lastFiles = Int(words[6]) ?? 0
        record.lastBytes = UInt64(words[7]) ?? 0
        return record
    }
}
