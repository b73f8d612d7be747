import BrambleAPI
import Glibc
import Primitives
import Reactor
import Storage
import Testing

@testable import Daemon

@Suite("the database's threads")
struct DatabaseThreadTests {
    @Test("a disk is waited for on the spot only after 200 quick syncs in a row, and while at most one write waits")
    func pace() {
        var pace = SyncPace()
        for _ in 0..<199 { pace.ended(after: .milliseconds(2)) }
        #expect(!pace.isDirect(waiting: 1))
        pace.ended(after: .milliseconds(1))
        #expect(pace.isDirect(waiting: 0) && pace.isDirect(waiting: 1) && !pace.isDirect(waiting: 2))
        // One slow sync ends it, and it has to be earned anew.
        pace.ended(after: .milliseconds(3))
        #expect(!pace.isDirect(waiting: 1))
        for _ in 0..<199 { pace.ended(after: .zero) }
        #expect(!pace.isDirect(waiting: 1))
        pace.ended(after: .zero)
        #expect(pace.isDirect(waiting: 1))
    }

    private func sql(_ text: String, readOnly: Bool = false) -> SQLRequest {
        SQLRequest([BrambleAPI.SQLStatement(text)], durability: .local, isReadOnly: readOnly)
    }

    @Test("what a reader does not see yet comes after its token: rows read and changes watched since are all there is")
    func tokens() async throws {
        let one = OneDatabase()
        defer { one.remove() }
        await one.database.open()
        _ = try await one.database.execute(sql("CREATE TABLE t (id INTEGER PRIMARY KEY)"))
        let (writers, each) = (16, 60)
        let reads = try await withThrowingTaskGroup(of: [(Set<Int64>, String)].self) { group in
            for writer in 0..<writers {
                group.addTask {
                    for number in 0..<each {
                        _ = try await one.database.execute(sql("INSERT INTO t VALUES (\(writer * each + number))"))
                    }
                    return []
                }
            }
            for _ in 0..<2 {
                group.addTask {
                    var reads: [(Set<Int64>, String)] = []
                    while reads.last.map({ $0.0.count < writers * each }) ?? true {
                        let answer = try await one.database.execute(sql("SELECT id FROM t", readOnly: true))
                        let ids = answer.results[0].rows.compactMap { row in
                            if case .integer(let id)? = row.first { id } else { nil }
                        }
                        reads.append((Set(ids), answer.token))
                    }
                    return reads
                }
            }
            return try await group.reduce(into: []) { $0 += $1 }
        }
        #expect(reads.count > 10)
        let all = Set(Int64(0)..<Int64(writers * each))
        var missed: [String] = []
        for (seen, token) in reads {
            let later = try #require(await one.database.keys(since: token))
            let lost = all.subtracting(seen).subtracting(later)
            if !lost.isEmpty { missed.append("after \(token): \(lost.count) rows") }
        }
        #expect(missed.isEmpty, "neither read nor told: \(missed.prefix(3)) of \(reads.count) reads")
        await one.end()
    }

    @Test("a watch goes on after the token of a change, and says so when that is too old or of another life")
    func watch() async throws {
        let one = OneDatabase()
        defer { one.remove() }
        await one.database.open()
        _ = try await one.database.execute(sql("CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)"))
        func next(_ count: Int, since token: String?) async throws -> [WatchMessage] {
            var messages: [WatchMessage] = []
            for await message in try await one.database.watch("t", since: token) {
                messages.append(message)
                if messages.count == count { break }
            }
            return messages
        }
        let before = try await one.database.execute(sql("SELECT 1", readOnly: true)).token
        for id in 1...3 { _ = try await one.database.execute(sql("INSERT INTO t VALUES (\(id), 'x')")) }
        _ = try await one.database.execute(sql("DELETE FROM t WHERE id = 2"))
        let all = try await next(4, since: before)
        let changes = all.compactMap { if case .change(let change) = $0 { change } else { nil } }
        #expect(changes.map(\.key) == [1, 2, 3, 2].map { ["id": .integer($0)] })
        #expect(changes.map(\.op) == [.put, .put, .put, .delete])
        // From any of them on, the rest follows, once and in order.
        let rest = try await next(2, since: changes[1].token)
        #expect(rest == [all[2], all[3]])
        // More has changed since than is kept.
        for round in 0..<5 {
            _ = try await one.database.execute(
                sql(
                    "INSERT INTO t SELECT value + \(round * 1_000 + 10), 'y' FROM (WITH RECURSIVE c(value) AS (VALUES (1) UNION ALL "
                        + "SELECT value + 1 FROM c WHERE value < 1000) SELECT value FROM c)"))
        }
        guard case .resync(let resync)? = try await next(1, since: before).first else {
            Issue.record("no word of what is missing")
            return
        }
        _ = try await one.database.execute(sql("INSERT INTO t VALUES (9, 'after')"))
        guard case .change(let change)? = try await next(1, since: resync.token).first else { return }
        #expect(change.key == ["id": .integer(9)])
        // A token of before a restart is not taken for one of after it.
        await one.end()
        let again = OneDatabase(one.folder)
        await again.database.open()
        for await message in try await again.database.watch("t", since: change.token) {
            if case .change = message { Issue.record("taken for one of this life") }
            break
        }
        await #expect(throws: APIError.self) { try await again.database.watch("t", since: "not a token!") }
        await again.end()
    }

    @Test("a backup is made on a thread of its own: writes are answered while it is under way")
    func backup() async throws {
        let one = OneDatabase()
        defer { one.remove() }
        await one.database.open()
        _ = try await one.database.execute(sql("CREATE TABLE t (id INTEGER PRIMARY KEY, v BLOB)"))
        // Its thread is busy: a backup waits for it, and nobody else does.
        let (isBegun, mayEnd) = (Gate(), Gate())
        await one.database.copyLoop.perform {
            isBegun.open()
            mayEnd.wait()
        }
        isBegun.wait()
        async let file = one.database.backup()
        for number in 0..<20 {
            _ = try await one.database.execute(sql("INSERT INTO t VALUES (\(number), randomblob(1000))"))
        }
        mayEnd.open()
        let bytes = try await file.bytes
        #expect(bytes > 4_096)
        await one.end()
    }
}

/// Opened once, waited for with a bound.
private final class Gate: Sendable {
    private let isOpen = Locked(false)
    func open() { isOpen.withLock { $0 = true } }
    func wait() {
        let deadline = SystemClock.now + .seconds(30)
        while !isOpen.withLock({ $0 }), SystemClock.now < deadline { sched_yield() }
    }
}

extension Database {
    /// Of the changes after a token; nil when they are not kept any more.
    fileprivate func keys(since token: String) -> Set<Int64>? {
        guard let store = replica?.store, let number = UInt64(token, radix: 36),
            case .notices(let notices) = store.notices(after: number, limit: 100_000)
        else { return nil }
        return Set(
            notices.filter { $0.table == "t" }.compactMap { notice in
                if case .integer(let id)? = notice.key.first?.value { id } else { nil }
            })
    }
}
