//! Types that only one side could name.

use teff_contract::grain;

#[grain]
trait Store<T> {
    fn put(&mut self, value: T);
}

#[grain]
trait Methods {
    fn put<T>(&mut self, value: T);
    fn shown(&mut self, value: impl ToString);
    fn sized(&mut self)
    where
        Self: Sized;
    fn twin(&mut self) -> Self;
    fn future(&mut self) -> impl Future<Output = ()>;
    unsafe fn trust_me(&mut self);
}

fn main() {}
