import Glibc

/// Why the lab could not do something. Tests let it fail them.
package struct LabError: Error, CustomStringConvertible {
    package let description: String
    package init(_ description: String) { self.description = description }

    /// What the last system call said.
    static func system(_ doing: String, code: Int32 = errno) -> LabError {
        LabError("\(doing): \(String(cString: strerror(code)))")
    }
}

/// Throws when a system call failed.
@discardableResult
func check(_ result: Int32, _ doing: @autoclosure () -> String) throws(LabError) -> Int32 {
    guard result >= 0 else { throw .system(doing()) }
    return result
}
