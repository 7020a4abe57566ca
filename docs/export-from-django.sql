-- What the imports of `coursehook` take, out of the PostgreSQL of a Django
-- receiver. The names are those of MITx Online's models; where yours differ,
-- change what stands right of FROM. It only reads.
--
--   psql "$DATABASE_URL" --file docs/export-from-django.sql

\set ON_ERROR_STOP on
SET TIME ZONE 'UTC';
BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY;

\copy (SELECT u.email, o.edx_username, regexp_replace(u.name, '\s+', ' ', 'g') AS name FROM users_user u LEFT JOIN openedx_openedxuser o ON o.user_id = u.id WHERE u.email <> '') TO 'users.csv' CSV HEADER
\copy (SELECT r.courseware_id AS course_id, regexp_replace(r.title, '\s+', ' ', 'g') AS title, r.live, r.is_self_paced, r.start_date, r.end_date, r.certificate_available_date FROM courses_courserun r) TO 'runs.csv' CSV HEADER
\copy (SELECT u.email, r.courseware_id AS course_id, c.uuid AS certificate_id, c.issue_date AS issued_at, c.is_revoked FROM courses_courseruncertificate c JOIN users_user u ON u.id = c.user_id JOIN courses_courserun r ON r.id = c.course_run_id) TO 'certificates.csv' CSV HEADER
\copy (SELECT u.email, r.courseware_id AS course_id, g.grade AS percent, g.passed, g.letter_grade, g.set_by_admin FROM courses_courserungrade g JOIN users_user u ON u.id = g.user_id JOIN courses_courserun r ON r.id = g.course_run_id) TO 'grades.csv' CSV HEADER
\copy (SELECT u.email, r.courseware_id AS course_id, e.enrollment_mode AS mode, e.active, e.edx_enrolled, e.change_status FROM courses_courserunenrollment e JOIN users_user u ON u.id = e.user_id JOIN courses_courserun r ON r.id = e.run_id) TO 'enrollments.csv' CSV HEADER

COMMIT;
