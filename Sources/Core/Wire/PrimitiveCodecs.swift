package import Primitives

extension ByteReader {
    package mutating func nodeID() throws(Failure) -> NodeID {
        NodeID(high: try integer(), low: try integer())
    }
    /// A family byte (4 or 6), the address, the port.
    package mutating func endpoint() throws(Failure) -> Endpoint {
        let length: Int
        switch try integer(UInt8.self) {
        case 4: length = 4
        case 6: length = 16
        default: throw .malformed
        }
        guard let address = IPAddress(bytes: try take(length)) else { throw .malformed }
        return Endpoint(address, port: try integer())
    }
    package mutating func nodeName() throws(Failure) -> NodeName {
        guard let name = NodeName(try text(limit: 63)) else { throw .malformed }
        return name
    }
}

extension ByteWriter {
    package mutating func nodeID(_ id: NodeID) {
        integer(id.high)
        integer(id.low)
    }
    package mutating func endpoint(_ endpoint: Endpoint) {
        let bytes = endpoint.address.bytes
        integer(UInt8(bytes.count == 4 ? 4 : 6))
        raw(bytes)
        integer(endpoint.port)
    }
    package mutating func nodeName(_ name: NodeName) { text(name.description) }
}
