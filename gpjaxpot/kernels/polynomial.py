"""Kernels that are polynomials of the cosine: their coefficients."""

from gpjaxpot.kernels.abstract import AbstractKernel, Product, Scaled, Sum, Variance
from gpjaxpot.kernels.dot_power import DotPower


def polynomial(kernel: AbstractKernel) -> dict[int, Variance] | None:
    """Coefficients by power of t = p·q; None for a kernel that is no polynomial of it.

    A power that is not named is absent whatever the values of what may be learned.
    """
    match kernel:
        case DotPower():
            return {int(kernel.zeta): 1.0} if kernel.zeta.is_integer() else None
        case Scaled():
            inner = polynomial(kernel.kernel)
            return None if inner is None else {n: kernel.variance * c for n, c in inner.items()}
        case Sum():
            parts = [polynomial(k) for k in kernel.kernels]
            total: dict[int, Variance] = {}
            for part in parts:
                if part is None:
                    return None
                total = {n: total.get(n, 0.0) + part.get(n, 0.0) for n in total | part}
            return total
        case Product():
            product: dict[int, Variance] = {0: 1.0}
            for part in (polynomial(k) for k in kernel.kernels):
                if part is None:
                    return None
                pairs = [(n + m, a * b) for n, a in product.items() for m, b in part.items()]
                product = {n: sum(c for m, c in pairs if m == n) for n, _ in pairs}
            return product
    return None


def degree(kernel: AbstractKernel) -> int | None:
    """Highest power of p·q; None for a kernel that is no polynomial of it."""
    powers = polynomial(kernel)
    return None if powers is None else max(powers)
