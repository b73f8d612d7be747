/// The little HTTP/1.1 that the lab needs to ask a node, over any stream.
package struct HTTPResponse: Sendable {
    package var status: Int
    /// Names in lower case.
    package var headers: [String: String]
    package var body: [UInt8]
    package var text: String { String(decoding: body, as: UTF8.self) }

    /// One request on a connection of its own.
    package static func ask(
        _ method: String, _ path: String, headers: [String: String] = [:], body: [UInt8] = [], over stream: Connection
    ) throws(LabError) -> HTTPResponse {
        var head = "\(method) \(path) HTTP/1.1\r\nHost: bramble\r\nConnection: close\r\n"
        if !body.isEmpty { head += "Content-Type: application/json\r\nContent-Length: \(body.count)\r\n" }
        for (name, value) in headers { head += "\(name): \(value)\r\n" }
        try stream.send(Array((head + "\r\n").utf8) + body)
        return try HTTPResponse(reading: try stream.receiveAll())
    }

    /// A whole response, up to the end of the stream.
    package init(reading bytes: [UInt8]) throws(LabError) {
        let blank = Array("\r\n\r\n".utf8)
        guard let end = bytes.firstRange(of: blank) else {
            throw LabError(
                "no HTTP response but \(bytes.count) bytes: \(String(decoding: bytes.prefix(200), as: UTF8.self))")
        }
        let lines = String(decoding: bytes[..<end.lowerBound], as: UTF8.self).split(separator: "\r\n")
        guard let status = lines.first?.split(separator: " ").dropFirst().first.flatMap({ Int($0) }) else {
            throw LabError("no HTTP status in: \(lines.first ?? "")")
        }
        self.status = status
        headers = [:]
        for line in lines.dropFirst() {
            guard let colon = line.firstIndex(of: ":") else { continue }
            headers[line[..<colon].lowercased()] = String(line[line.index(after: colon)...].drop { $0 == " " })
        }
        let rest = bytes[end.upperBound...]
        body = headers["transfer-encoding"]?.lowercased() == "chunked" ? HTTPResponse.unchunk(rest) : Array(rest)
    }

    private static func unchunk(_ bytes: ArraySlice<UInt8>) -> [UInt8] {
        var result: [UInt8] = []
        var rest = bytes
        while let end = rest.firstRange(of: [13, 10]),
            let size = Int(String(decoding: rest[..<end.lowerBound], as: UTF8.self), radix: 16), size > 0
        {
            let chunk = rest[end.upperBound...].prefix(size)
            result += chunk
            rest = rest[chunk.endIndex...].dropFirst(2)
        }
        return result
    }
}
