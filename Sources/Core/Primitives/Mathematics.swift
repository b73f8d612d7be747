// The only file of Core that imports the C library: for two pure functions that Swift does not have.
import Glibc

package enum Mathematics {
    package static func exp(_ x: Double) -> Double { Glibc.exp(x) }
    package static func log10(_ x: Double) -> Double { Glibc.log10(x) }
}
