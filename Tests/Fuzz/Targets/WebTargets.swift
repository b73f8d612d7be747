import BrambleAPI
import FoundationEssentials
import Web

extension FuzzTarget {
    /// What clients of the HTTP API send: what is read, written out and read again is the same.
    static let json = FuzzTarget("json") {
        [
            #"{"name":"serv3"}"#,
            #"{"user":"admin","password":"caf\u00e9 \ud83c\udf47","list":[1,-2.5e3,true,null,{"x":""}]}"#,
            " [ [ ] , { } , 0 , 9223372036854775808 ]\n",
        ].map { Array($0.utf8) }
    } check: { bytes in
        guard let value = try? JSONReader.read(bytes) else { return nil }
        guard let written = try? JSONEncoder().encode(value), let again = try? JSONReader.read([UInt8](written)) else {
            return "what was read cannot be written and read again"
        }
        return plain(again) == plain(value) ? nil : "it reads differently the second time"
    }

    /// 25e2 may be a whole number or not: both are right.
    private static func plain(_ value: JSONValue) -> JSONValue {
        switch value {
        case .integer(let number): .number(Double(number))
        case .array(let items): .array(items.map(plain))
        case .object(let members): .object(members.mapValues(plain))
        default: value
        }
    }
}
