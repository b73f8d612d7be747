/// A file of the dashboard, in the binary. `embed-pages` writes the table from the folder Pages.
struct Asset: Sendable {
    let path: String
    let type: String
    /// Changes with the content.
    let tag: String
    let content: StaticString

    /// Scripts, styles, pictures: nothing in them is secret, the login page needs some of them.
    static func find(_ head: RequestHead) -> Response? {
        guard head.effectiveMethod == "GET", head.path.hasPrefix("/assets/"), head.query.isEmpty else { return nil }
        let name = head.path.dropFirst("/assets/".count)
        guard let asset = embedded.first(where: { $0.path == name }), asset.type != "text/html; charset=utf-8" else {
            return nil
        }
        let headers = [
            ("Content-Type", asset.type), ("ETag", "\"\(asset.tag)\""), ("Cache-Control", "no-cache"),
        ]
        if head.header("if-none-match")?.contains(asset.tag) == true { return Response(status: 304, headers: headers) }
        return Response(status: 200, headers: headers, body: .constant(asset.content))
    }

    static func page(_ name: String) -> Response {
        guard let asset = embedded.first(where: { $0.path == name }) else { return Response(status: 404) }
        return Response(status: 200, headers: [("Content-Type", asset.type)], body: .constant(asset.content))
    }
}
