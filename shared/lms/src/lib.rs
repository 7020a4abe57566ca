//! The client for the LMS. [`LmsClient`] makes requests with one access token for the whole
//! process, and once more if a connection broke. `rate_limit` keeps the rate limits and contains
//! the circuit breaker.

mod answer;
mod api;
mod base_url;
mod client;
mod enrollments;
mod error;
mod grades;
mod http;
mod oauth;
mod pages;
mod rate_limit;
mod retry;
mod token;

pub use api::LmsApi;
pub use base_url::{BaseUrl, BaseUrlError};
pub use client::{LmsClient, PAGE_TIME};
pub use enrollments::{About, EnrollmentRow};
pub use error::{
    ErrorCode, InvalidResponse, LmsApiError, LmsError, NoCredentialError, TokenEndpointError,
};
pub use grades::GradeRow;
pub use http::{HttpClient, SendRequest, Sending};
pub use pages::Page;
pub use rate_limit::LmsLimits;
pub use token::{AccessToken, Authorization};
