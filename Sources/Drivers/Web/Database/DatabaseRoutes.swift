import BrambleAPI

extension RouteTable {
    private static let tokenParameter = Route.Parameter(
        name: "since", about: "Go on after this token; the header Last-Event-ID does the same, and counts more",
        schema: .text(choices: []))
    private static let safeIntegers = Route.Parameter(
        name: "safeIntegers", about: "true: integers beyond 2⁵³ − 1 come as {\"integer\":\"DIGITS\"}, for JavaScript",
        schema: .truth)

    static let database: [Route] = [
        Route(
            "POST", "/v1/sql",
            "Carry out one statement, or several in one transaction. Values: null, numbers, strings, "
                + "{\"blob\":\"BASE64\"}; the answer says which durability was really reached",
            describedBy: SQLBody.self,
            answers: [
                .json(
                    .of(SQLBodyAnswer.self),
                    about: "“columns”, “rows” and “truncated” for one statement, “results” for a transaction")
            ]
        ) { call, body in
            let sql = try SQLCall(body)
            let answer = try await call.web.service.execute(sql.request)
            var writer = JSONWriter(forJavaScript: sql.forJavaScript)
            writer.answer(answer, asList: sql.isTransaction)
            return .written(writer)
        },
        Route(
            "GET", "/v1/watch/{table}",
            "Rows of a table as they change: an event each, with its token as ID. An event “resync” says that changes "
                + "were missed: read the table anew, then go on",
            query: [tokenParameter, safeIntegers],
            answers: [.other("text/event-stream", about: "One change a message")]
        ) { call in try await Streams.watch(call) },
        Route(
            "GET", "/v1/database", "How the database is, here and on each other node", gives: DatabaseStatus.self,
            about: "Size, lag of each node, conflicts"
        ) { call in try await call.web.service.database() },
        Route(
            "POST", "/v1/database/release",
            "Take what a node wrote with a wrong clock as it is, on every node and for good: where two wrote the same value, "
                + "such a write counts until a later one",
            takes: ReleaseRequest.self, gives: DatabaseChange.self, about: "What was done"
        ) { call, body in try await call.web.service.releaseWrites(body) },
        Route(
            "GET", "/v1/tables", "The tables and their columns", gives: [TableInfo].self, about: "The tables"
        ) { call in try await call.web.service.tables() },
        Route(
            "GET", "/v1/tables/{table}", "Rows of a table, in the order of its key",
            query: [
                Route.Parameter(name: "limit", about: "Rows at most, 50 unless said otherwise", schema: .whole),
                Route.Parameter(
                    name: "after", about: "“next” of the page before", schema: .text(choices: [])),
                safeIntegers,
            ],
            answers: [.json(.of(TablePage.self), about: "Some rows, and where the next page begins")]
        ) { call in
            let name = call.parameter("table")
            let isExact = try flag("safeIntegers", call)
            guard let table = try await call.web.service.tables().first(where: { $0.name == name }) else {
                throw APIError(
                    problem: "there is no table “\(name.prefix(200))”", remedy: "/v1/tables lists them",
                    kind: .notFound)
            }
            let pages = try TablePages(of: table, limit: call.query("limit"), after: call.query("after"))
            let answer = try await call.web.service.execute(pages.request)
            let page = pages.page(answer.results.first ?? SQLResult())
            var writer = JSONWriter(forJavaScript: isExact)
            writer.raw(#"{"table":"#)
            writer.encoded(page.table)
            writer.raw(#","rows":"#)
            writer.rows(page.rows)
            writer.raw(#","next":"#)
            if let next = page.next { writer.string(next) } else { writer.raw("null") }
            writer.raw("}")
            return .written(writer)
        },
        Route(
            "GET", "/v1/conflicts", "Values that were overwritten by somebody who had not seen them, newest first",
            query: [
                Route.Parameter(name: "limit", about: "At most so many, 100 unless said otherwise", schema: .whole),
                safeIntegers,
            ],
            answers: [.json(.of([Conflict].self), about: "The conflicts, with both values")]
        ) { call in
            let text = call.query("limit") ?? "100"
            guard let limit = Int(text), (1...10_000).contains(limit) else {
                throw APIError(
                    problem: "“limit” must be from 1 to 10000, not “\(text.prefix(40))”",
                    remedy: "give a whole number", kind: .invalid)
            }
            var writer = JSONWriter(forJavaScript: try flag("safeIntegers", call))
            writer.list(try await call.web.service.conflicts(limit: limit)) { $0.conflict($1) }
            return .written(writer)
        },
        Route(
            "GET", "/v1/backup", "A consistent copy of the whole database, as one SQLite file",
            answers: [.other("application/vnd.sqlite3", about: "The file; bramble restore takes it")]
        ) { call in
            let file = try await call.web.service.backup()
            return try .download(file, named: "bramble-backup.db", type: "application/vnd.sqlite3")
        }.waiting(patience),
        Route(
            "POST", "/v1/restore",
            "Replace the database of every node by this backup: what was written since is lost everywhere",
            uploads: "application/vnd.sqlite3", gives: DatabaseChange.self, about: "What was done"
        ) { call, path in try await call.web.service.restore(from: path) }.waiting(patience),
    ]

    /// A gigabyte is copied, or checked and taken in, within this on a small machine's card.
    private static let patience: Duration = .seconds(600)

    static func flag(_ name: String, _ call: Call) throws(APIError) -> Bool {
        switch call.query(name) {
        case nil, "false": return false
        case "true": return true
        case let other?:
            throw APIError(
                problem: "“\(name)” must be true or false, not “\(other.prefix(40))”",
                remedy: "leave it out, or say true",
                kind: .invalid)
        }
    }
}

extension Streams {
    static func watch(_ call: Call) async throws -> Response {
        let web = call.web
        let caller = call.caller
        let isExact = try RouteTable.flag("safeIntegers", call)
        let token = call.head.header("last-event-id") ?? call.query("since")
        guard token.map({ $0.utf8.count <= 1024 && !$0.isEmpty }) ?? true else {
            throw APIError(
                problem: "“since” is no token of a watch", remedy: "take it from the last change that was seen",
                kind: .invalid)
        }
        let changes = try await web.service.watch(call.parameter("table"), since: token)
        return Response(
            status: 200, headers: headers,
            body: .stream(ByteStream(limit: web.limits.streamBytes)) { stream in
                stream.send(Message.heartbeat)  // so that the client sees the answer begin
                await watching(stream, caller, web) {
                    for await message in changes {
                        // At the client's own pace: the node notices when we fall behind, and says “resync”.
                        guard await stream.sendInTurn(written(message, isExact)) else { return }
                    }
                }
            })
    }

    private static func written(_ message: WatchMessage, _ isExact: Bool) -> [UInt8] {
        switch message {
        case .change(let change):
            var writer = JSONWriter(forJavaScript: isExact)
            writer.change(change)
            return Message.make(token: change.token, data: writer.bytes)
        case .resync(let resync):
            return Message.make(token: resync.token, event: "resync", data: Message.json(resync))
        }
    }
}
